"""Tables supplied by users: site series and plans in, assessments out."""

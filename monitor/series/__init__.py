"""What a site and its control ground showed at each acquisition: one column schema, built from what is stored."""

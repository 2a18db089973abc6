"""Constants of the kernels (numba compiles them in): names and values enter the hash of every calibration."""

LAGS = 3
"""Plans tracked in parallel: as written, half a year late, a year late."""
LOSSES = 3
"""Most sudden losses whose size is estimated."""
BANK = 8
"""Onset dates tried at any time, a new one every 15 days: 120 days, most of a growing season. What shows later is
mostly drift."""
ONSET_DAYS = 15
"""Days between two onset dates. [day]"""
DROP = -0.08
"""Loss size tried. Smaller ones drown in noise, larger ones are detected by it too; trying several sizes lets drift
pass for one of them, and detects less at the same false-alarm rate. [cover fraction]"""
CONFIRM_DAYS = 15
"""A loss is confirmed by three consecutive scenes of one season that span this many days: haze passes sooner, and
spring green-up is uneven. [day]"""
WEIGHED_DAYS = 365
"""Longest time after its onset in which evidence on a confirmed loss is updated; less where the bank fills up. [day]"""
LOWER = 0.01
"""A loss is confirmed only if the site is this much lower, relative to its control, than a year before at the same time
of the season: ground that greens later than its control is low every spring without a loss. A larger value would hide
losses of fast-growing stands. [cover fraction]"""
SAME_TIME = 15
"""Largest distance from the same day of the previous year at which a scene counts as the same time. [day]"""
EARLIER_DAYS = 60
"""How much earlier than its onset by the search a loss may be dated. [day]"""
PHASE_DAYS = 4.0
"""Lasting difference in season between site and control that the loss search allows for, as standard deviation: 8 does
no better (simulated units whose seasons differ by 10 days; none: more than twice the false losses). [day]"""
FLANK_DAYS = 3.0
"""The same from scene to scene: where cover changes fast, a scene counts less in the loss search. [day]"""
DOUBT_MOST = 9.0
"""Largest factor on the variance of an outlier in the loss search: after a large loss every scene is an outlier, and
would otherwise count less the larger the loss. [1]"""
CALM = 0.8
"""Factor on the usual drift up to which a site is calm: half of the simulated sites whose drift has a memory of a year
are. The loss search allows for drift above it. [1]"""
SEARCH_MEAN, SEARCH_SD = 0.9, 0.6
"""Prior mean and standard deviation of theta in the loss search. [1]"""
FAILED = ((-0.4, 0.1), (-0.2, 0.15), (0.0, 0.4), (0.1, 0.2), (0.2, 0.15))
"""(theta, weight): mixture that represents a failed site in the evidence of failure."""
PROFILES = ((0.0, 0.9), (0.5, 0.05), (1.0, 0.05))
"""(constant share, prior weight): seasons of an uplift. The rest follows the control's season above its pedestal; an
evergreen shrub on bare ground is constant. [1]"""
HALF_LIVES = (1.5, 3.0, 6.0)
"""Half-lives of the healing of a sudden loss, equally likely where it heals. [year]"""
HEALS, HEALED_SHARE, HEALED_SD = 0.5, 0.5, 0.08
"""Prior probability that a loss heals; mean share of it that comes back in the end [1], and its standard deviation
[cover fraction]."""
SEASON_OF_GROWTH = 0.08
"""How differently new growth responds to each season, in the loss search: standard deviation, as a share of the
promised uplift. [1]"""
HEIGHT = 0.7
"""Height of the season, of its peak, from which a scene shows more than leaf-out and leaf-fall. [1]"""
ELASTICITY_THETA = 1.5
"""Largest theta at which rain is assumed to act on the uplift. [1]"""
RIDGE = 0.006
"""Ridge of the regression that estimates rain, for the first scenes of a season. [cover fraction squared]"""
SOIL = 0.05
"""Largest part of the control's cover that may be a constant offset other than vegetation. [cover fraction]"""
WIDTHS = (20.0, 30.0, 45.0, 65.0, 95.0)
"""Widths of the seasonal curve that are tried. [day]"""
REFERENCE_SCENES = 5
"""Fewest scenes from which the seasonal curve is fitted."""
SEASON_SCENES = 3
"""Fewest scenes with which a season counts as observed."""
RAIN_DAYS = 20.0
"""Memory of the rain estimate: long enough to average scene noise, short enough to follow an early spring or a dry
July. With the season to date instead, theta of a site on plan errs a tenth more, and false losses double. [day]"""
RAIN_SEASONS = 1.5
"""Weight, in seasons, of the usual rain spread against that of the control's own seasons."""
LEARNT_SEASONS = 8
"""Seasons of the control that suffice to estimate a normal one. With fewer before the start, later seasons are added as
they end, since the control was not worked on: one season alone leaves theta uncertain by a fifth because of its rain,
six still by a tenth where rain varies as much as in the driest places."""
SEASONS_TO_CALL_DRY = 5
"""Fewest estimated seasons with which a dry one is reported: a normal from two is itself uncertain by an eighth."""
GROWN = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Values of theta, equally likely, that represent an effect of the work in the evidence of uplift."""
OWN = (-2.4, -2.0, -1.6, -1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4)
"""Grid of the posterior of a site's own noise: log factor, in standard deviations of its prior."""
NORMAL_95 = 1.959964
"""97.5 % quantile of the normal distribution."""
LEAST_FREE = 0.3
"""Lower bound of the denominator of Fieller's interval, which is unbounded where the gain is nearly unknown."""
SHARE = (1.0, 0.9, 0.8)
"""Sizes of the plan that are considered: as written, a tenth and a fifth smaller. [1]"""

"""Who computes and stores what, and when: a policy for each published system.

`system` says what a system must answer, `sequences` checks what it is asked, `catalog` finds systems by name. Policies
are in folders by kind; `parts` has what several of them share.
"""

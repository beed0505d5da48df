"""How a thing is, in one word. On a terminal it is a sign (view.py), in JSON it is this word."""

OK = "ok"  # as it was asked for
IDLE = "idle"  # at rest, as it was asked for
BUSY = "busy"  # on the way: it goes on by itself
BAD = "bad"  # somebody has to act

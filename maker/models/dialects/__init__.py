"""What servers are told and what their replies say, one pair of modules a kind of server. Pure: no network.

`dialect` says how a server is spoken to: where, with which headers, what the body of one request is, and what the body
of one reply says. So a batch of requests can be written and read with it. `refusals` reads from a refusal which setting
mends it.
"""

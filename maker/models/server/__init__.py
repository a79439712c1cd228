"""Ask a server request by request: an HTTP loop sends what a `maker.models.dialects.dialect` makes, to all servers.

A `Request` is one HTTP request, except with a server that turns out to take no ``n``. maker repeats by itself only
tries that were certainly not billed: no connection; HTTP 408, 409, 425, 429; 5xx except a gateway's 504. A request that
was sent and brought nothing that can vote comes back as lost. The worker asks again, five times in all, and each time
the limits must cover it anew. Requests and tokens a minute are a sliding window (`pacing`) of each worker by itself.
How many requests are in flight follows from how the server answers: `concurrency` decides, `gate` holds the others
back. While a server fails, `endpoints` says which of its fallbacks answers.
"""

"""All rows, by subject."""
from rows import (chunked, connection, expect, fields, framing, h2_flow, h2_frames, h2_headers, h2_streams, h2_to_h1,
                  h2_tunnel, host, identity, methods, responses, response_framing, retries, smuggling, target, trailers,
                  upgrade)

MODULES = (framing, chunked, smuggling, fields, host, target, methods, connection, identity, expect, responses,
           response_framing, trailers, upgrade, retries, h2_frames, h2_streams, h2_headers, h2_flow, h2_to_h1, h2_tunnel)
ROWS = [row for module in MODULES for row in module.ROWS]

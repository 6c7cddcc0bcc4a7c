"""``deal view``: a scored pool and its selection as one page that needs no server.

``chosen`` and ``rows`` read, ``drives``, ``project``, ``stacks`` and ``compare`` add what the page
shows, ``pictures`` and ``layers`` draw, ``pack``, ``head`` and ``page`` write, ``serve`` serves.
The program of the page lies in ``static/``.
"""

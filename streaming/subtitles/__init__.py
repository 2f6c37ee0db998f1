"""Words as subtitles: cues, files, finished transcripts. Pure, and light enough for a client: the server writes
them for those who ask over HTTP, the client for those who run commands.
"""

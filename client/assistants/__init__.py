"""voicewire as the ears of voice assistants: a module for each framework, which alone imports it.

`pipecat` needs `pip install 'voicewire[pipecat]'`, `livekit` needs `voicewire[livekit]`.
"""

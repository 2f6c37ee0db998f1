"""`python -m voicewire.client` is the command `voicewire`."""

from voicewire.client.main import app

app(prog_name="voicewire")

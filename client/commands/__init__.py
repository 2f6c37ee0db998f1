"""One file per command; `voicewire.client.main` puts them together."""

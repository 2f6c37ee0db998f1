"""Making the quantisers: needs the recogniser, which the codecs themselves do not."""

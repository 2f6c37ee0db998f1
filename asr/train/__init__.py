"""Training: recordings with texts become prepared utterances (prepare), those become windows and an adapter
(fit), and that becomes a folder which the recogniser loads (export).
"""

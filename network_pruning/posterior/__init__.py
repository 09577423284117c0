"""Posterior expectation distillation: small networks that know what they do not know.

`samplers` and `expectations` are arithmetic on tensors; Keras begins above them.
"""

"""Sentences that are true of a generated scene; reading sentences is `dgl_rsis.decoupling`."""

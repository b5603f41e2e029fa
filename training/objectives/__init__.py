"""Objectives beside cross entropy: preferences (DPO, CPO) and staying near the base."""

"""Building an MMUD of one's own (journal paper, section 4 and appendix A).

The steps are annotate, filter, tag, review, split, describe. Each reads what the step before wrote into one working
folder (`neuraltuning.mmud.workspace`), can be looked at there, and goes on where it stopped.
"""

"""Data sets: what fire sensors would say over days, with labels, for whoever trains a model or scores one.

    mix        what befalls the sensors: fires of several kinds, and harmless disturbances
    course     the physics of many sensors in columns, with their faults: the same plant, signals and faults as devices
    columns    features in the order of the contracts, the label of the contracts, the truth, and the lead time
    making     all of it, block by block, in bounded memory
    writers    CSV, JSONL, Parquet       windows   sequences of 30 as NPZ       card   what a reader should know
    reading    such a data set again, block by block

Rules: the bytes are a function of the options, the seed and the version alone: no clock, no order of a set, no path.
"""

"""Scores: how good predictions of fire are, against the label and the truth of a data set.

    known        the records to be scored, and the scores that somebody gave them
    figures      precision, recall, F1, accuracy, AUC, lead time, false alarms, calibration
    bounds       minimum and target of the contracts, and the verdict
    answers      a file of predictions       endpoint   HTTP, or SageMaker
    baseline     the platform's own rule-based risk, over the records
    finished     the alarms of a run
    page         the report

Rules: no part of the fleet. It asks what the platform's analysis says, so it may import `backend.fire`, which is pure.
"""

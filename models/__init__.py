"""How good are the predictions? Everything that turns what was seen of endpoints into a probability of failing.

What is seen, and what came of it:
    columns     what is known of every endpoint at one moment, as columns; medians over an endpoint's peers
    past        what the windows do not show: where an endpoint is heading, its worst moments, slow sums of evidence
    features    the schema (names, centre, scale, id) and its one definition for live, replay and training
    labels      did the endpoint breach its objective within the horizon? answers that arrive late, or never
    foresight   labels of a long horizon, put together from those of the short one

Who predicts:
    predictor   the interface that every model keeps, and the smallest model that keeps it
    online      logistic regression, learned from delayed labels in minibatches
    trees       boosted trees as plain arrays
    calibration log-odds to honest probabilities, with an interval
    combined    the predictor that serves: trees and the online line, mixed and calibrated
    default     the model that ships with the package
    detectors   cumulative sums of log-likelihood ratios; sequential makes predictors of them
    residuals   latency given attempts in flight, beside the peers and the usual; outstanding says what waits now
    fitting     fits the predictor that serves to labelled rows

Whether to believe it:
    trust       whether the model may decide, by its losses against those of the model-free rule
    drift       has the world changed? Page-Hinkley and ADWIN on residuals, PSI on features
    contest     champion and challenger: who serves, who predicts in shadow, and what came of it
    learner     all of them in step: ask before the answer is known, score and teach when it comes
    scoring     scores with intervals over blocks of time

Where it is kept:
    saved       one version of a model on disk: plain arrays and a manifest that proves them
    store       a directory of versions, and which of them is champion and challenger
    estimators  full scikit-learn estimators, for what is only looked at later
    card        a model card

Days of calls between pods, as public data has them:
    calls       the calls, and what stands out at each pod in each ten seconds
    edges       files of such calls and of injected faults, in the layout of the Nezha recordings
    pods        the probability that a latency fault is in force on a pod
    judging     a model of pods on one day, beside every baseline

The history of a Prometheus server:
    mapping     which metrics mean what; those in mappings/ ship
    prometheus  reads it: the shell that asks

Nothing here reads a clock or calls a global random number; scikit-learn is imported where a model is trained, by the
function that needs it, and never where one serves.
"""

"""How good are the predictions? Everything that turns what was seen of endpoints into a probability of failing.

    columns     what is known of every endpoint at one moment, as columns; medians over an endpoint's peers
    features    the schema (names, centre, scale, id) and its one definition for live, replay and training
    labels      did the endpoint breach its objective within the horizon? answers that arrive late, or never
    predictor   the interface that every model keeps, and the smallest model that keeps it
    online      logistic regression, learned from delayed labels in minibatches
    trust       whether the model may decide, by its losses against those of the model-free rule
    saved       one version of a model on disk: plain arrays and a manifest that proves them
    store       a directory of versions, and which of them is champion and challenger
    estimators  full scikit-learn estimators, for what is only looked at later
    contest     champion and challenger: who serves, who predicts in shadow, and what came of it
    calls       calls between pods, and what stands out at each pod in each ten seconds
    edges       files of such calls and of injected faults, in the layout of the Nezha recordings
    pods        the probability that a latency fault is in force on a pod
    scoring     scores with intervals over blocks of time
    judging     a model of pods on one day, beside every baseline
    card        a model card
    learner     all of them in step: ask before the answer is known, score and teach when it comes

Nothing here reads a clock or calls a global random number; scikit-learn is imported by the constructor that needs it.
"""

"""Full scikit-learn estimators as bytes, by skops with a fixed list of what may stand in them: never a pickle.

What serves is plain arrays (`models.saved`); this is for what is only scored or looked at later.
"""

from __future__ import annotations

from typing import Any

from models.saved import StoreError

# All that a histogram gradient boosting holds beyond what skops trusts by itself. Nothing here runs code on loading.
ALLOWED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


def pack(estimator: Any) -> bytes:
    """The estimator as bytes."""
    from skops import io

    return bytes(io.dumps(estimator))


def unpack(data: bytes, name: str) -> Any:
    """The estimator in `data`; `name` is its file, for the message. Raises StoreError where anything in it is not on
    the list: that is found before any of it is made.
    """
    from skops import io

    try:
        foreign = sorted(set(io.get_untrusted_types(data=data)) - set(ALLOWED))
        if foreign:
            raise StoreError(f"{name}: refused: it holds {', '.join(foreign)}, which no model of Adaptive needs")
        return io.loads(data, trusted=list(ALLOWED))
    except StoreError:
        raise
    except Exception as error:  # a zip or a schema of another make fails in many ways
        raise StoreError(f"{name}: not readable as an estimator: {error}") from error

"""What tests of training steps need."""

import pytest


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """No test reads what another process measured, nor leaves anything behind."""
    kept = pytest.importorskip("schedule.torch.kept")
    monkeypatch.setattr(kept, "_place", False)

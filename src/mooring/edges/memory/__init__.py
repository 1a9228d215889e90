"""Memory edges: the fakes of every port, verified by the same contract tests."""

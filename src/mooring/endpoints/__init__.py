"""Who can serve: readiness, slices with least churn, hints, which endpoints a frontend may use."""

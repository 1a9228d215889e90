"""Who set which field, and what does an apply change? Server-side apply: field sets, merges, managedFields.

The rules are those of sigs.k8s.io/structured-merge-diff and apimachinery/pkg/util/managedfields. A field set is kept in the
form of `fieldsV1` itself, so that reading and writing it costs nothing (sets.py); types.py says how documents merge.
"""

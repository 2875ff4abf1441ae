//! Experiments on large clusters.

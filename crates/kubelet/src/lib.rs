//! One task per pod.

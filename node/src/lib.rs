//! Lampyrid.

//! The few bytes of TLS that are read and written without it (RFC 8446, 5 and 6).

/// The first byte of a dialler with TLS.
pub(crate) const HELLO: u8 = 0x16;
/// How an alert begins.
pub(crate) const ALERT: [u8; 2] = [0x15, 0x03];
/// The two sides do not speak the same.
pub(crate) const PROTOCOL_VERSION: u8 = 70;
/// This side cannot go on, through no fault of the other.
#[cfg(feature = "cli")]
pub(crate) const INTERNAL_ERROR: u8 = 80;

/// A fatal alert in the clear, which both understand, with TLS and without.
pub(crate) const fn alert(description: u8) -> [u8; 7] {
    [ALERT[0], ALERT[1], 3, 0, 2, 2, description]
}

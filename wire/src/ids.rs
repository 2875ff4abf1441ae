use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A string that is not a UUID where an identifier was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUID: give 32 hexadecimal digits, with or without hyphens")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random (version 4) identifier.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The identifier of a name: a UUID of version 5 (RFC 9562) in this type's own
            /// name space, so equal names of two kinds of things never collide.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                let space = Uuid::new_v5(&Uuid::NAMESPACE_OID, concat!("lampyrid/", stringify!($name)).as_bytes());
                Self(Uuid::new_v5(&space, name.as_bytes()))
            }

            /// An identifier made of a number; meant for tests, where ids must be in a known order.
            #[must_use]
            pub const fn from_u128(number: u128) -> Self {
                Self(Uuid::from_u128(number))
            }

            /// True for the all-zero identifier, which names nothing and is refused everywhere.
            #[must_use]
            pub fn is_nil(&self) -> bool {
                self.0.is_nil()
            }

            /// The sixteen bytes, in the order in which ids sort.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::from_str(text).map(Self).map_err(|_| ParseIdError { text: text.to_owned() })
            }
        }
    };
}

uuid_id! {
    /// A process, for as long as its data directory exists.
    ProcessId
}
uuid_id! {
    /// A cluster; minted with its first view, stored, checked in every hello and term.
    ClusterId
}
uuid_id! {
    /// A partition of the host's state: the unit that a process hosts.
    BubbleId
}
uuid_id! {
    /// A piece of live state: the unit that moves.
    EntityId
}
uuid_id! {
    /// One migration request at its source; unique over restarts.
    SagaId
}
uuid_id! {
    /// One staged copy at a destination; durable, fresh for each staging.
    StageId
}

/// How often a process has been started (or has rejoined after its removal); rises, never falls.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The incarnation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A random number drawn once per start. Two peers with one process id and incarnation but two
/// nonces mean a copied or rolled-back data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootNonce(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_to_stable_ids_that_differ_by_kind() {
        assert_eq!(BubbleId::from_name("a"), BubbleId::from_name("a"));
        assert_ne!(BubbleId::from_name("a"), BubbleId::from_name("b"));
        assert_ne!(BubbleId::from_name("a").0, EntityId::from_name("a").0);
    }

    #[test]
    fn a_bad_id_is_a_typed_error_that_shows_it() {
        let error = EntityId::from_str("nope").unwrap_err();
        assert!(error.to_string().contains("`nope`"));
    }
}

//! The ids that clients make: of a member's incarnation, and of a task.
//!
//! Invariant: ids are ordered by the time in them, which is the engine's and not the client's. So an engine knows which ids are
//! too old to be new, and can refuse a repetition that it has forgotten.

use std::{error::Error, fmt, ops::Add, time::Duration};

use workfleet_causes::readable;

/// A time on the engine's clock, in milliseconds since 1970.
///
/// Clients ask the engine for it ([`Engine::time`](crate::Engine::time)), because their own clocks may be wrong by hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineTime(u64);

impl EngineTime {
    /// The time of so many milliseconds since 1970. Only the low 48 bits count.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms & 0xFFFF_FFFF_FFFF)
    }

    /// In milliseconds since 1970.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for EngineTime {
    type Output = Self;

    /// So much later, in whole milliseconds; the last time that there is, if that is later.
    fn add(self, duration: Duration) -> Self {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms).min(0xFFFF_FFFF_FFFF))
    }
}

/// The bits of a UUID of version 7 (RFC 9562): 48 bits of time, then random ones around the version and the variant.
const fn uuid_v7(time: EngineTime, random: u128) -> u128 {
    let random = random & 0x0FFF_3FFF_FFFF_FFFF_FFFF;
    ((time.unix_ms() as u128) << 80) | (0x7 << 76) | (0b10 << 62) | random
}

/// The operating system has no random bits for a new id.
#[derive(thiserror::Error)]
#[error("there are no random bits for a new id")]
pub struct RandomError {
    source: Box<dyn Error + Send + Sync>,
}

readable!(struct RandomError { source });

#[cfg(test)]
impl RandomError {
    pub(crate) fn for_tests() -> Self {
        Self { source: std::io::Error::from(std::io::ErrorKind::NotFound).into() }
    }
}

fn random() -> Result<u128, RandomError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| RandomError { source: error.into() })?;
    Ok(u128::from_ne_bytes(bytes))
}

/// As `8-4-4-4-12` hexadecimal digits.
fn show(id: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (a, b, c, d) = (id >> 96, id >> 80 & 0xFFFF, id >> 64 & 0xFFFF, id >> 48 & 0xFFFF);
    write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:012x}", id & 0xFFFF_FFFF_FFFF)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// An id of this time and these random bits, as a UUID of version 7. 74 of the bits are used.
            #[must_use]
            pub const fn new(time: EngineTime, random: u128) -> Self {
                Self(uuid_v7(time, random))
            }

            /// A new id of this time, with random bits from the operating system.
            ///
            /// # Errors
            ///
            /// [`RandomError`] if the operating system has no random bits.
            pub fn generate(time: EngineTime) -> Result<Self, RandomError> {
                Ok(Self::new(time, random()?))
            }

            /// The id of these bits, as a store has kept them.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// Its bits, to be kept in a store.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// When it was made, by the engine's clock.
            #[must_use]
            pub const fn time(self) -> EngineTime {
                EngineTime::from_unix_ms((self.0 >> 80) as u64)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(self.0, f)
            }
        }
    };
}

id! {
    /// One incarnation of one member: from when it joins until it leaves or its lease runs out. No id is used for two.
    MemberId
}

id! {
    /// A task. Its client makes it, so that a repeated enqueuing is recognised.
    ///
    /// ```
    /// use workfleet_engine::{EngineTime, FleetTaskId};
    ///
    /// let early = FleetTaskId::new(EngineTime::from_unix_ms(1_000), u128::MAX);
    /// let late = FleetTaskId::new(EngineTime::from_unix_ms(1_001), 0);
    /// assert!(early < late, "ids are ordered by time");
    /// assert_eq!(late.to_string(), "00000000-03e9-7000-8000-000000000000");
    /// ```
    FleetTaskId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_time_and_is_a_uuid_of_version_7() {
        let time = EngineTime::from_unix_ms(0x0123_4567_89AB);
        for random in [0, u128::MAX] {
            let id = FleetTaskId::new(time, random);
            assert_eq!(id.time(), time);
            assert_eq!(id.as_u128() >> 76 & 0xF, 7);
            assert_eq!(id.as_u128() >> 62 & 0b11, 0b10);
            assert_eq!(FleetTaskId::from_u128(id.as_u128()), id);
        }
        assert_ne!(FleetTaskId::generate(time).unwrap(), FleetTaskId::generate(time).unwrap());
    }

    #[test]
    fn the_error_follows_the_convention() {
        assert_eq!(workfleet_causes::convention::breaches(&RandomError::for_tests()), [""; 0]);
    }

    #[test]
    fn times_saturate() {
        let last = EngineTime::from_unix_ms(u64::MAX);
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(EngineTime::default().since(last), Duration::ZERO);
    }
}

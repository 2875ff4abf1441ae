use std::time::Duration;

/// What to measure, and how large.
pub(crate) struct Plan {
    names: Vec<String>,
    /// The time of the experiments that run for a time.
    pub(crate) time: Duration,
    /// Entities that move.
    pub(crate) entities: usize,
    /// Moves of all of them together.
    pub(crate) moves: usize,
    /// Entities in one request.
    pub(crate) batch: usize,
    /// Requests at once.
    pub(crate) in_flight: usize,
}

impl Plan {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>, all: &[&str]) -> Self {
        let mut plan = Self {
            names: Vec::new(),
            time: Duration::from_secs(60),
            entities: 100_000,
            moves: 1_000_000,
            batch: 512,
            in_flight: 8,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next().and_then(|value| value.parse::<f64>().ok());
                value.unwrap_or_else(|| panic!("{argument} takes a number"))
            };
            match argument.as_str() {
                // Cargo says that this is a benchmark.
                "--bench" => {}
                "--minutes" => plan.time = Duration::from_secs_f64(value() * 60.0),
                "--entities" => plan.entities = (value() as usize).max(1),
                "--moves" => plan.moves = (value() as usize).max(1),
                "--batch" => plan.batch = (value() as usize).clamp(1, 10_000),
                "--in-flight" => plan.in_flight = (value() as usize).max(1),
                "floors" => plan.names.push(argument),
                name if all.contains(&name) => plan.names.push(argument),
                other => panic!(
                    "{other}: not one of floors, {}, --minutes, --entities, --moves, --batch, \
                     --in-flight",
                    all.join(", ")
                ),
            }
        }
        if plan.names.is_empty() {
            plan.names = all.iter().map(|&name| name.to_owned()).collect();
        }
        plan
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }
}

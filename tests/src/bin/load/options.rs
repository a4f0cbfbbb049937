//! The options of the program.

use std::{fmt, num::NonZeroUsize, thread};

use crate::Failed;

/// How the proxies are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Worker threads of each proxy.
    pub(crate) workers: usize,
    /// Whether the proxies have the last cores to themselves.
    pub(crate) pin: bool,
    /// Whether Berry writes its access log, to a file.
    pub(crate) log: bool,
    /// Whether a run only checks that the program works.
    pub(crate) quick: bool,
    /// The cores of this machine, counted before this process pins itself to some of them.
    machine_cores: usize,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failed> {
        let machine_cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut options = Self { workers: 1, pin: false, log: false, quick: false, machine_cores };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--workers" => {
                    let workers = arguments.next().and_then(|text| text.parse().ok()).filter(|workers| *workers > 0);
                    options.workers = workers.ok_or("--workers needs a number of at least 1")?;
                }
                "--pin" => options.pin = true,
                "--log" => options.log = true,
                "--quick" => options.quick = true,
                other => return Err(format!("unknown option `{other}`; use --workers N, --pin, --log, --quick").into()),
            }
        }
        Ok(options)
    }

    /// Returns the cores of the proxies and those of everything else, as `taskset` takes them; `None` without `--pin`.
    ///
    /// A proxy with a worker on every core shares them with the load.
    pub(crate) fn cores(&self) -> Option<(String, String)> {
        let cores = self.machine_cores;
        let first = cores.saturating_sub(self.workers);
        let others = if first == 0 { format!("0-{}", cores - 1) } else { format!("0-{}", first - 1) };
        self.pin.then(|| (format!("{first}-{}", cores - 1), others))
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worker{} each", self.workers, if self.workers == 1 { "" } else { "s" })?;
        if let Some((proxies, others)) = self.cores() {
            write!(f, ", the proxies on cores {proxies}, everything else on {others}")?;
        }
        write!(f, ", Berry's access log {}.", if self.log { "on, to a file" } else { "off" })
    }
}

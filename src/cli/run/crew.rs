//! The engines of a node, from when they are opened until it has no more use for them.

use super::Options;
use super::cast::{self, Cast, Paths};
use crate::cli::{Context, Usage, output};
use crate::ros2::lifecycle::Crew;
use crate::ros2::node::{self, Checker, Engines, NodeOptions};
use crate::ros2::parameters::Parameters;

/// Opens engines as the command line says.
pub(super) struct Hands<'a> {
    options: &'a Options,
    context: &'a Context,
    cast: Option<Cast>,
}

impl<'a> Hands<'a> {
    /// No engine yet.
    pub(super) fn new(options: &'a Options, context: &'a Context) -> Self {
        Self { options, context, cast: None }
    }

    /// Opens the engines, and says what they claim.
    ///
    /// # Errors
    /// As [`Cast::open`].
    pub(super) fn engage(&mut self, paths: &Paths, settings: &mut NodeOptions) -> anyhow::Result<()> {
        node::can_be_asked(settings.ask_when.because, paths.predict.is_some()).map_err(Usage)?;
        if self.options.record.waits_for_surprise() && paths.predict.is_none() {
            let message = "--record-when surprise: no engine of this node forecasts: give it one that does";
            return Err(Usage(message.to_owned()).into());
        }
        let cast = Cast::open(paths, self.options, self.context, settings)?;
        cast.report_memory(settings);
        self.cast = Some(cast);
        Ok(())
    }

    fn configured(&mut self, now: &Parameters) -> anyhow::Result<NodeOptions> {
        // Another file may lie there since.
        let paths = cast::sort(&self.options.engines)?;
        let (mut node, unknown) = self.options.assigned(&paths, &self.context.ros)?;
        super::warn_of_unknown(&unknown);
        node.take_over(now);
        self.engage(&paths, &mut node)?;
        Ok(node)
    }
}

impl Crew for Hands<'_> {
    fn configure(&mut self, now: &Parameters) -> Result<NodeOptions, String> {
        self.configured(now).map_err(|error| output::chain(&error))
    }

    fn engines(&mut self) -> Engines<'_> {
        self.cast.as_mut().map(Cast::engines).unwrap_or_default()
    }

    fn checker(&self) -> Option<Checker> {
        self.cast.as_ref().and_then(Cast::checker)
    }

    fn cleanup(&mut self) {
        self.cast = None;
    }
}

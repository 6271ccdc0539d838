//! What the host keeps in files: the private copies that are opened, and the history of versions. And how it reports what goes wrong there.

use crate::{event::Log, history::History};
use reslot_report::{Event, HistoryError, StageError};
use reslot_stage::{Restored, Source, StageLimits, StagedFile, StagingFolder, read_source};
use std::{path::Path, sync::Arc};

/// What the host keeps in files.
pub(crate) struct Storage {
    /// Before the private folder, in which it may lie: that is left alone if there is anything in it.
    pub(crate) history: History,
    private: StagingFolder,
    limits: StageLimits,
    log: Log,
}

impl Storage {
    pub(crate) fn new(history: History, private: StagingFolder, limits: StageLimits, log: Log) -> Arc<Self> {
        Arc::new(Self {
            history,
            private,
            limits,
            log,
        })
    }

    /// The folder of the private copies.
    pub(crate) fn private(&self) -> &StagingFolder {
        &self.private
    }

    /// Reads a published file.
    ///
    /// # Errors
    /// If it is not there, is not whole, or is too large.
    pub(crate) fn read(&self, path: &Path) -> Result<Source, StageError> {
        read_source(path, &self.limits)
    }

    /// Writes a private copy, into a new private folder if somebody has removed or replaced the one that there was.
    ///
    /// # Errors
    /// If there is no folder and none can be made, or the copy cannot be written.
    pub(crate) fn write_private_copy(&self, slot: &str, bytes: &[u8]) -> Result<StagedFile, StageError> {
        let written = self.private.write(slot, bytes);
        self.report_private_folder();
        written
    }

    /// Reports, once, that the private folder was made again, and what was kept in the one that is gone.
    fn report_private_folder(&self) {
        for Restored { was, now } in self.private.take_restored() {
            let moved = was != now;
            self.log.push(Event::PrivateFolderRestored { was: was.clone(), now });
            if !moved {
                continue;
            }
            for (slot, error) in self.history.was_lost(&was) {
                self.log.push(Event::HistoryFailed {
                    slot: Some(slot.into()),
                    error,
                });
            }
        }
    }

    /// Reports what went wrong with the history, if anything did.
    pub(crate) fn report_history_error(&self, slot: &Arc<str>, outcome: Result<(), HistoryError>) {
        self.report_private_folder();
        if let Err(error) = outcome {
            let slot = Some(slot.clone());
            self.log.push(Event::HistoryFailed { slot, error });
        }
    }
}

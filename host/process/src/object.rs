//! The object of an instance that lives in a child process.

use crate::{
    channel::{Head, Kind},
    link::Link,
};
use reslot_engine::Object;
use reslot_plugin_api::{
    __private::{
        ContextAbi, HealthAbi,
        marshal::{Marshalling, RemoteInstance},
    },
    Health, InstanceEnd,
    guest::{Arguments, Hook},
};
use reslot_report::HookError;
use std::sync::Arc;

/// An instance in a child process.
pub(crate) struct RemoteObject {
    instance: RemoteInstance,
    link: Arc<Link>,
}

impl RemoteObject {
    /// `functions` is the number of methods in the plugin's manifest.
    pub(crate) fn new(link: &Arc<Link>, functions: usize) -> Self {
        Self {
            instance: RemoteInstance::new(functions, link.clone()),
            link: link.clone(),
        }
    }

    fn hook(&self, hook: Hook, given: Arguments<'_>) -> Result<(), HookError> {
        self.link.hook(hook, (0, 0), given).map(drop)
    }
}

fn given<'a>(context: &'a ContextAbi<'_>) -> Arguments<'a> {
    Arguments {
        slot: context.slot.as_str(),
        generation: context.generation,
        ..Arguments::default()
    }
}

// SAFETY: data and table are those of a `RemoteInstance`, which stays where it is as long as `self`. The hooks are messages to another process.
unsafe impl Object for RemoteObject {
    fn data(&self) -> *mut () {
        self.instance.data()
    }

    fn table(&self) -> *const () {
        self.instance.table()
    }

    fn is_bound(&self) -> bool {
        self.instance.is_bound()
    }

    unsafe fn bind(&self, marshalling: &Marshalling) {
        self.instance.bind(marshalling);
    }

    fn ended(&self) -> Option<InstanceEnd> {
        self.link.end()
    }

    fn snapshot(&self, _: usize) -> Result<Option<Vec<u8>>, HookError> {
        self.link.snapshot()
    }

    fn migrate(&self, from: u32, to: u32, state: &[u8]) -> Result<Vec<u8>, HookError> {
        let given = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        Ok(self.link.hook(Hook::Migrate, (from, to), given)?.unwrap_or_default())
    }

    fn cannot_read(&self, state: &[u8]) -> Option<String> {
        let given = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        match self.hook(Hook::CannotRead, given) {
            Err(HookError::Refused(words)) => Some(words),
            _ => None,
        }
    }

    fn health(&self, context: ContextAbi<'_>) -> Result<Health, HookError> {
        let reply = self.link.hook(Hook::Health, (0, 0), given(&context))?.unwrap_or_default();
        let Some((result, message)) = reply.split_first_chunk() else {
            return Err(HookError::Refused("its process answered with no health".to_owned()));
        };
        let health = HealthAbi {
            result: u32::from_le_bytes(*result),
            message: String::from_utf8_lossy(message).as_ref().into(),
        };
        Ok(health.into())
    }

    fn check_config(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        let bytes = config;
        self.hook(
            Hook::CheckConfig,
            Arguments {
                bytes,
                ..given(&context)
            },
        )
    }

    fn end_workers(&self, own: bool) -> String {
        let head = Head {
            kind: Kind::EndWorkers,
            code: own.into(),
            target: 0,
        };
        match self.link.tell(head, &[]) {
            Ok((_, names)) => String::from_utf8_lossy(&names).into_owned(),
            // They have ended with their process.
            Err(_) => String::new(),
        }
    }

    unsafe fn restore(&self, state: &[u8]) -> Result<(), HookError> {
        let given = Arguments {
            bytes: state,
            ..Arguments::default()
        };
        self.hook(Hook::Restore, given)?;
        self.link.save(Some(state.to_vec()));
        Ok(())
    }

    unsafe fn configure(&self, context: ContextAbi<'_>, config: &[u8]) -> Result<(), HookError> {
        let bytes = config;
        self.hook(
            Hook::Configure,
            Arguments {
                bytes,
                ..given(&context)
            },
        )
    }

    unsafe fn resource(&self, context: ContextAbi<'_>, name: &str, bytes: &[u8]) -> Result<(), HookError> {
        self.hook(
            Hook::Resource,
            Arguments {
                name,
                bytes,
                ..given(&context)
            },
        )
    }

    unsafe fn init(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.hook(Hook::Init, given(&context))
    }

    unsafe fn start(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.hook(Hook::Start, given(&context))?;
        self.link.save_first();
        Ok(())
    }

    unsafe fn stop(&self, context: ContextAbi<'_>) -> Result<(), HookError> {
        self.hook(Hook::Stop, given(&context))
    }

    unsafe fn destroy(&self) -> Result<(), HookError> {
        self.hook(Hook::Destroy, Arguments::default())
    }
}

//! Conway's Life on a plane of 2³² by 2³² cells. The living cells are in the world; the plugin's value counts the
//! generations, so that there is a state to hand over.
#![forbid(unsafe_code)]

mod step;

use arcade_interfaces::{Input, Rules, World};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Life {
    generations: u64,
}

impl Rules for Life {
    fn tick(&mut self, world: &mut dyn World, _: Input) {
        world.set_cells(&step::next(&world.cells()));
        self.generations += 1;
    }

    fn title(&self) -> String {
        format!("Life, {} generations", self.generations)
    }
}

export_plugin!(Life: dyn Rules);

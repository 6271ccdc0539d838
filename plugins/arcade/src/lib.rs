//! A ball, a paddle and bricks. Change a constant, save, and the running game changes. Data that must survive a swap, or be
//! undone after a failed tick, is in the world. The plugin's value is only for these rules, and is changed last.
#![forbid(unsafe_code)]

use arcade_interfaces::{Input, Kind, Rules, Thing, World};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

/// The acceleration of the ball, in pixels per tick².
const GRAVITY: f32 = 0.006;
/// The speed of the ball.
const SPEED: f32 = 0.55;
/// The speed of the paddle.
const PADDLE: f32 = 1.1;
const ROWS: usize = 4;
const COLUMNS: usize = 10;

#[derive(Default, Serialize, Deserialize)]
struct Bricks {
    ticks: u64,
}

impl Rules for Bricks {
    fn tick(&mut self, world: &mut dyn World, input: Input) {
        let paddle = paddle(world, input);
        let mut ball = world.thing("ball").unwrap_or_else(|| launched(&paddle));
        fly(&mut ball, world);
        if touch(&ball, &paddle) && ball.dy > 0.0 {
            // The further out the ball hits the paddle, the flatter it leaves.
            let off = (ball.x + ball.width / 2.0 - paddle.x) / paddle.width - 0.5;
            (ball.dx, ball.dy) = (off * 2.0 * SPEED, -SPEED);
        }
        if input.fire || ball.y > world.size().height {
            world.set_number("lost", world.number("lost") + 1);
            ball = launched(&paddle);
        }
        hit_bricks(&mut ball, world);
        world.put("ball", ball);
        world.put("paddle", paddle);
        self.ticks += 1;
    }

    fn title(&self) -> String {
        format!("bricks, gravity {GRAVITY}, {} ticks seen", self.ticks)
    }
}

fn paddle(world: &dyn World, input: Input) -> Thing {
    let size = world.size();
    let mut paddle = world.thing("paddle").unwrap_or(Thing {
        x: size.width / 2.0 - 6.0,
        y: size.height - 3.0,
        width: 12.0,
        height: 1.0,
        dx: 0.0,
        dy: 0.0,
        kind: Kind::Paddle,
    });
    paddle.x = (paddle.x + PADDLE * input.steer as f32).clamp(0.0, size.width - paddle.width);
    paddle
}

fn launched(paddle: &Thing) -> Thing {
    Thing {
        x: paddle.x + paddle.width / 2.0,
        y: paddle.y - 2.0,
        width: 1.0,
        height: 1.0,
        dx: SPEED * 0.6,
        dy: -SPEED,
        kind: Kind::Ball,
    }
}

fn fly(ball: &mut Thing, world: &dyn World) {
    ball.dy += GRAVITY;
    ball.x += ball.dx;
    ball.y += ball.dy;
    let right = world.size().width - ball.width;
    if ball.x < 0.0 || ball.x > right {
        ball.dx = -ball.dx;
        ball.x = ball.x.clamp(0.0, right);
    }
    if ball.y < 0.0 {
        (ball.y, ball.dy) = (0.0, ball.dy.abs());
    }
}

/// Every brick has a name, and a number counts them, so that a new wall is built after the last one is hit.
fn hit_bricks(ball: &mut Thing, world: &mut dyn World) {
    let mut left = world.number("bricks");
    if left == 0 {
        for (name, brick) in wall(world.size().width) {
            world.put(&name, brick);
            left += 1;
        }
    }
    for (name, _) in wall(world.size().width) {
        if world.thing(&name).is_some_and(|brick| touch(ball, &brick)) {
            world.remove(&name);
            world.set_number("score", world.number("score") + 10);
            ball.dy = -ball.dy;
            left -= 1;
            break;
        }
    }
    world.set_number("bricks", left);
}

fn wall(width: f32) -> impl Iterator<Item = (String, Thing)> {
    let each = width / COLUMNS as f32;
    (0..ROWS * COLUMNS).map(move |at| {
        let (row, column) = (at / COLUMNS, at % COLUMNS);
        let brick = Thing {
            x: column as f32 * each + 0.5,
            y: row as f32 * 3.0 + 4.0,
            width: each - 1.0,
            height: 2.0,
            dx: 0.0,
            dy: 0.0,
            kind: Kind::Brick,
        };
        (format!("brick {row} {column}"), brick)
    })
}

fn touch(a: &Thing, b: &Thing) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

export_plugin!(Bricks: dyn Rules);

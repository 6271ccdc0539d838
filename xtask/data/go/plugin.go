// One version of the plugin that `cargo xtask compare go` builds; @VERSION@ is filled in for each. It imports nothing on purpose:
// that is the smallest plugin there is, so that what it costs is what any plugin costs at least (importing fmt doubles it).
package main

// Answer says which code is answering.
func Answer() string { return "@VERSION@" }

func main() {}

// Command navarch-shim owns the containers of one pod. The agent starts it; it is
// not meant to be run by hand.
//
//	navarch-shim FOLDER
package main

import (
	"fmt"
	"os"

	"navarch.dev/navarch/agent/shim/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "navarch-shim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == server.PauseCommand:
		return server.RunPause(args[1])
	case len(args) == 1:
		return server.Run(args[0])
	default:
		return fmt.Errorf("usage: navarch-shim FOLDER")
	}
}

// The Go side of `cargo xtask compare go`: opens plugins, calls them, and reports what the process keeps.
//
//	host same-path FILE OTHER   opens FILE, waits for a line on stdin (FILE is replaced meanwhile), opens FILE again,
//	                            then opens OTHER, the same new build under another name
//	host many FILE...           opens and calls each, and reports mappings and resident memory after each
package main

import (
	"bufio"
	"fmt"
	"os"
	"plugin"
	"runtime/debug"
	"strconv"
	"strings"
)

func answer(file string) (string, error) {
	opened, err := plugin.Open(file)
	if err != nil {
		return "", err
	}
	found, err := opened.Lookup("Answer")
	if err != nil {
		return "", err
	}
	return found.(func() string)(), nil
}

func report(what, file string) {
	text, err := answer(file)
	if err != nil {
		text = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Printf("%s=%s\n", what, text)
}

func measure() (mappings int, resident int) {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		panic(err)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		panic(err)
	}
	return strings.Count(string(maps), "\n"), pages * os.Getpagesize()
}

func main() {
	switch os.Args[1] {
	case "same-path":
		report("before", os.Args[2])
		bufio.NewReader(os.Stdin).ReadString('\n')
		report("after", os.Args[2])
		report("other_path", os.Args[3])
	case "many":
		for _, file := range os.Args[2:] {
			if _, err := answer(file); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			mappings, resident := measure()
			fmt.Printf("sample=%d %d\n", mappings, resident)
		}
	}
}

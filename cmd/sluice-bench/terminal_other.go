//go:build !unix

package main

import "os"

// terminalWidth is 0: nothing is known of terminals here.
func terminalWidth(*os.File) int { return 0 }

// Command roots prints the certificate authorities of the container image, as PEM: Mozilla's, in the release that this
// module's go.mod names and its go.sum pins. It is a module of its own so that the service does not depend on it.
//
// An authority that Mozilla trusts only for certificates issued before some day is left out, since a PEM file can't say
// so.
package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "roots:", err)
		os.Exit(1)
	}
}

func write() error {
	info, ok := debug.ReadBuildInfo()
	if !ok || len(info.Deps) != 1 {
		return fmt.Errorf("this was not built as a module with one dependency")
	}
	out := bufio.NewWriter(os.Stdout)
	// The first line is read by whoever makes the image, for its bill of materials.
	fmt.Fprintf(out, "# %s %s %s\n", info.Deps[0].Path, info.Deps[0].Version, info.Deps[0].Sum)
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return err
		}
	}
	return out.Flush()
}

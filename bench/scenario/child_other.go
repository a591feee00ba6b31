//go:build !linux

package scenario

import "syscall"

// diesWithParent is what the system offers for a child whose parent has died: nothing.
func diesWithParent() *syscall.SysProcAttr { return nil }

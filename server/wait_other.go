//go:build !linux

package server

// eager is what a line needs to tell that it is about to wait.
type eager struct {
	waits func() // called before a read that may wait; nil: nobody wants to know
}

// read calls l.waits in any case, because it cannot know whether it will wait.
func (l *line) read(b []byte) (int, error) {
	l.waits()
	return l.TCPConn.Read(b)
}

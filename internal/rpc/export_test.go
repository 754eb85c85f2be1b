package rpc

// Narrow has a connection take so many calls before another one is opened.
func (c *SpreadConn) Narrow(calls int) { c.perConn = calls }

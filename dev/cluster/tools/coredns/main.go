// CoreDNS with only the plugins that this cluster's Corefile names: it builds in a fraction of the time that
// the full set, with the SDK of every cloud, takes.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes the plugins; upstream generates it from plugin.cfg.
func init() {
	dnsserver.Directives = []string{"bind", "health", "errors", "template", "kubernetes"}
}

func main() {
	coremain.Run()
}

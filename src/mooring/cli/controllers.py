"""mooring controllers: run the controllers and the scheduler."""

from typing import Annotated

import typer

from mooring.alloc.pool import Pool, parse
from mooring.app.roles import controllers
from mooring.cli.main import CommandError
from mooring.cli.roles import LogFormat, RoleKubeconfig, addresses, log_to_stdout, ranges
from mooring.control.ingress_pods import IMAGE

Classes = Annotated[
    str, typer.Option(help="IngressClasses to make where they are not there, joined by commas, the first as the default.")
]

StorageClass = Annotated[
    str, typer.Option(help="The default StorageClass, made where it is not there, of directories of nodes; '': none.")
]
LoadBalancerPool = Annotated[
    str, typer.Option(help="CIDR or FIRST-LAST, joined by commas: addresses for Services of type LoadBalancer; '': none.")
]


def command(
    config: RoleKubeconfig = None,
    host: Annotated[str, typer.Option(help="Where health and metrics are served.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 10257,
    service_cidr: Annotated[str, typer.Option(help="One range per family.")] = "10.96.0.0/16",
    pod_cidr: Annotated[
        str, typer.Option(help="One per family, from which each node gets a part; '': nodes bring theirs.")
    ] = "",
    cluster_dns: Annotated[str, typer.Option(help="Addresses of Service kube-system/kube-dns.")] = "",
    advertise: Annotated[str, typer.Option(help="Addresses behind Service default/kubernetes; '': it is left alone.")] = "",
    advertise_port: Annotated[int, typer.Option(help="The API server's port there.")] = 6443,
    load_balancer_pool: LoadBalancerPool = "",
    ingress_classes: Classes = "",
    storage_class: StorageClass = "",
    gateway_image: Annotated[str, typer.Option(help="Of the proxies that serve Ingresses.")] = IMAGE,
    chosen: Annotated[str, typer.Option("--controllers", help="'*' is all, 'name' one, '-name' all but it.")] = "*",
    log_format: LogFormat = "text",
) -> None:
    """Run every controller and the scheduler, against any Kubernetes API server, until SIGTERM."""
    log_to_stdout(log_format)
    options = controllers.Options(
        kubeconfig=config,
        host=host,
        port=port,
        service_cidrs=ranges(service_cidr, "--service-cidr"),
        pod_cidrs=ranges(pod_cidr, "--pod-cidr"),
        cluster_dns=addresses(cluster_dns, "--cluster-dns"),
        advertised=addresses(advertise, "--advertise"),
        advertised_port=advertise_port,
        load_balancer_pool=_pool(load_balancer_pool),
        ingress_classes=tuple(name.strip() for name in ingress_classes.split(",") if name.strip()),
        storage_class=storage_class,
        gateway_image=gateway_image,
        controllers=tuple(name.strip() for name in chosen.split(",")),
    )
    try:
        controllers.run(options)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error


def _pool(text: str) -> Pool:
    try:
        return parse(text)
    except ValueError as error:
        raise CommandError(f"--load-balancer-pool: {error}", 2) from error

"""The web side: carts are kept in memory, every answer is JSON."""

from flask import Flask, Response, jsonify, request

from shop.cart import Cart
from shop.stock import OutOfStock, Stock


def create_app() -> Flask:
    app = Flask("shop")
    stock = Stock({"cup": 400, "pot": 40, "tea": 900, "tray": 3})
    carts: dict[str, Cart] = {}

    @app.post("/carts/<cart_id>/lines")
    def add_line(cart_id: str) -> tuple[Response, int]:
        wanted = request.get_json()
        cart = carts.setdefault(cart_id, Cart(cart_id))
        stock.take(wanted["article"], wanted["quantity"])
        cart.add(wanted["article"], wanted["quantity"])
        return jsonify(lines=len(cart.lines)), 201

    @app.post("/carts/<cart_id>/coupons")
    def add_coupon(cart_id: str) -> tuple[Response, int]:
        cart = carts.setdefault(cart_id, Cart(cart_id))
        cart.coupons.append(request.get_json()["code"])
        return jsonify(coupons=cart.coupons), 201

    @app.post("/carts/<cart_id>/order")
    def order(cart_id: str) -> tuple[Response, int]:
        cart = carts.pop(cart_id, None)
        if cart is None:
            return jsonify(error="no such cart"), 404
        return jsonify(cart=cart_id, total=str(cart.total())), 200

    @app.errorhandler(OutOfStock)
    def out_of_stock(problem: OutOfStock) -> tuple[Response, int]:
        return jsonify(error=str(problem)), 409

    return app

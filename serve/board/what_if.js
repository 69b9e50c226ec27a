export class WhatIf { constructor(form) { this.form = form; } about() {} }
